"""The exhibits, in the order of a course: neuron, perceptron, graph, layers, recurrence, convolution, attention."""

from collections.abc import Mapping

from netwright.core.entry import Entry, Gallery

_NEURON: list[Entry] = [
    Entry(
        "threshold-nets",
        "and, or and not as threshold units, and an expression as a net of them that is proven equal",
        "McCulloch and Pitts (1943)",
        "netwright.exhibits.threshold_nets:exhibit",
    ),
    Entry(
        "xor-net",
        "three threshold units compute xor, with the values of all units for all four inputs",
        "McCulloch and Pitts (1943); Minsky and Papert (1969)",
        "netwright.exhibits.xor_net:exhibit",
    ),
]
_PERCEPTRON: list[Entry] = [
    Entry(
        "perceptron-line",
        "the line after each update of a perceptron, and its mistakes against the bound",
        "Rosenblatt (1958); Novikoff (1962)",
        "netwright.exhibits.perceptron_line:exhibit",
    ),
    Entry(
        "perceptron-xor",
        "no line divides xor, with the certificate that proves it",
        "Minsky and Papert (1969); Farkas (1902)",
        "netwright.exhibits.perceptron_xor:exhibit",
    ),
]
_GRAPH: list[Entry] = [
    Entry(
        "computational-graph",
        "values forward, partial derivatives along edges, the derivative as a sum over paths",
        "Linnainmaa (1970); Rumelhart, Hinton and Williams (1986)",
        "netwright.exhibits.computational_graph:exhibit",
    ),
    Entry(
        "activations",
        "every activation with its derivative, and gradients through many layers of it",
        "LeCun et al. (1998); Nair and Hinton (2010)",
        "netwright.exhibits.activations:exhibit",
    ),
]
_LAYERS: list[Entry] = [
    Entry(
        "xor-mlp",
        "XOR by hidden units: their lines and maps, and the starts and topologies that fail",
        "Minsky and Papert (1969); Rumelhart, Hinton and Williams (1986)",
        "netwright.exhibits.xor_mlp:exhibit",
    ),
    Entry(
        "hidden-units",
        "what each hidden unit responds to on two classes shaped like moons, while it learns",
        "Rumelhart, Hinton and Williams (1986)",
        "netwright.exhibits.hidden_units:exhibit",
    ),
    Entry(
        "noisy-curve",
        "regression of a noisy curve with 1 to 64 hidden units, and the fit while it is learned",
        "Cybenko (1989); Hornik, Stinchcombe and White (1989)",
        "netwright.exhibits.noisy_curve:exhibit",
    ),
    Entry(
        "learning-by-the-book",
        "gradient descent on all rows, a few, one; with momentum, Adam, and a rate that is halved",
        "Robbins and Monro (1951); Polyak (1964); Kingma and Ba (2015)",
        "netwright.exhibits.learning_by_the_book:exhibit",
    ),
    Entry(
        "deep-networks",
        "2 and 24 layers with and without batch norm and residual connections, and dropout on few rows",
        "He et al. (2016); Ioffe and Szegedy (2015); Srivastava et al. (2014)",
        "netwright.exhibits.deep_networks:exhibit",
    ),
]
_RECURRENCE: list[Entry] = [
    Entry(
        "unrolled",
        "feedback nets, one with connections that jump a level, unrolled in time",
        "Elman (1990); Hopfield (1982); Werbos (1990)",
        "netwright.exhibits.unrolled:exhibit",
    ),
    Entry(
        "hopfield-memory",
        "pictures restored from noise by a Hopfield net, its energy, and how many it can keep",
        "Hopfield (1982); Storkey (1997); Amit, Gutfreund and Sompolinsky (1985)",
        "netwright.exhibits.hopfield_memory:exhibit",
    ),
    Entry(
        "cosine-to-sine",
        "the sine from the cosine, one value at a time, by a perceptron, a recurrent net and a GRU",
        "Elman (1990); Cho et al. (2014)",
        "netwright.exhibits.cosine_to_sine:exhibit",
    ),
    Entry(
        "vanishing-gradient",
        "the gradient on its way back in time through plain, gated and long short-term memory cells",
        "Hochreiter (1991); Bengio, Simard and Frasconi (1994)",
        "netwright.exhibits.vanishing_gradient:exhibit",
    ),
    Entry(
        "gates",
        "gates of a GRU and an LSTM that open where there is something to remember",
        "Hochreiter and Schmidhuber (1997); Cho et al. (2014)",
        "netwright.exhibits.gates:exhibit",
    ),
    Entry(
        "forecast",
        "forecasts several steps ahead against the last value and the last season",
        "Hyndman and Koehler (2006)",
        "netwright.exhibits.forecast:exhibit",
    ),
    Entry(
        "tree-lstm",
        "a tree LSTM that learns the value of boolean expressions from the values of their parts",
        "Tai, Socher and Manning (2015); Gallicchio and Micheli (2013)",
        "netwright.exhibits.tree_lstm:exhibit",
    ),
]
_CONVOLUTION: list[Entry] = [
    Entry(
        "worked-convolution",
        "four linear units share a window of 4 x 4 weights and look at a 3",
        "Fukushima (1980); LeCun et al. (1989)",
        "netwright.exhibits.worked_convolution:exhibit",
    ),
    Entry(
        "filters-and-maps",
        "what a convolutional network has learned to look for in digits, and where it finds it",
        "LeCun et al. (1998); Zeiler and Fergus (2014)",
        "netwright.exhibits.filters_and_maps:exhibit",
    ),
    Entry(
        "shift-invariance",
        "accuracy on digits that were moved, perceptron against convolution",
        "Fukushima (1980); Azulay and Weiss (2019)",
        "netwright.exhibits.shift_invariance:exhibit",
    ),
    Entry(
        "lenet-errors",
        "LeNet-5 on handwritten digits, and every digit that it reads wrongly",
        "LeCun et al. (1998)",
        "netwright.exhibits.lenet_errors:exhibit",
    ),
    Entry(
        "moving-blobs",
        "convolution in space and time tells which way a spot moves",
        "Ji et al. (2013); Tran et al. (2015)",
        "netwright.exhibits.moving_blobs:exhibit",
    ),
    Entry(
        "char-cnn",
        "the network on characters as published, layer by layer, and a narrow one against n-grams",
        "Zhang, Zhao and LeCun (2015)",
        "netwright.exhibits.char_cnn:exhibit",
    ),
    Entry(
        "series-kernels",
        "kernels, random and learned, find a shape wherever it stands in a series",
        "Waibel et al. (1989); Dempster, Petitjean and Webb (2020)",
        "netwright.exhibits.series_kernels:exhibit",
    ),
    Entry(
        "spoken-digits",
        "sounds as pictures of their frequencies, and a speaker who was never heard",
        "Davis and Mermelstein (1980); Park et al. (2019)",
        "netwright.exhibits.spoken_digits:exhibit",
    ),
]
_ATTENTION: list[Entry] = [
    Entry(
        "attention-pooling",
        "affinity, scores and weighted sum over an unordered set, and which element counts",
        "Bridle (1990); Bahdanau, Cho and Bengio (2015); Ilse, Tomczak and Welling (2018)",
        "netwright.exhibits.attention_pooling:exhibit",
    ),
    Entry(
        "attention-text",
        "the scores of a prediction over the words of a sentence",
        "Bahdanau, Cho and Bengio (2015); Vaswani et al. (2017)",
        "netwright.exhibits.attention_text:exhibit",
    ),
    Entry(
        "self-attention",
        "what the heads of self-attention look at, when a sequence is mirrored and when a symbol is copied",
        "Vaswani et al. (2017)",
        "netwright.exhibits.self_attention:exhibit",
    ),
    Entry(
        "sets",
        "a network on sets of digits, to which their order means nothing, and what each pooling can answer",
        "Zaheer et al. (2017)",
        "netwright.exhibits.sets:exhibit",
    ),
]

CHAPTERS: Mapping[str, tuple[str, list[Entry]]] = {
    "The neuron": ("A unit that fires when enough of its inputs do, and what nets of such units can compute.", _NEURON),
    "The perceptron": ("A neuron that learns from its mistakes, and the problems that it cannot learn.", _PERCEPTRON),
    "The graph": ("Values run forward along the edges of a graph, derivatives run back.", _GRAPH),
    "Layers": ("Hidden units bend the space until a line suffices.", _LAYERS),
    "Recurrence": ("Networks that read one value after the other and remember.", _RECURRENCE),
    "Convolution": ("The same small window of weights everywhere: on images, sounds and texts.", _CONVOLUTION),
    "Attention": ("A weighted look at all inputs at once, in no order.", _ATTENTION),
}
"""Chapter -> its lead, and its exhibits."""

EXHIBITS = Gallery("exhibit", [entry for _, entries in CHAPTERS.values() for entry in entries])
