"""The exhibits, in the order of a course: neuron, perceptron, graph, layers, recurrence, convolution, attention."""

from collections.abc import Mapping

from netwright.core.entry import Entry, Gallery

_NEURON: list[Entry] = []
_PERCEPTRON: list[Entry] = []
_GRAPH: list[Entry] = []
_LAYERS: list[Entry] = []
_RECURRENCE: list[Entry] = []
_CONVOLUTION: list[Entry] = []
_ATTENTION: list[Entry] = []

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
