"""netwright: labelled data to a neural network that its owner can trust."""
