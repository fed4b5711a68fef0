//! Neuron bounds: how many hidden units are known to suffice.
