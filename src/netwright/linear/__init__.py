"""Classes divided by a line or a plane: whether one exists, how wide its margin may be, and a neuron that learns it."""
