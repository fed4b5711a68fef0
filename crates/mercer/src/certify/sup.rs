//! Sup-norm certificates on a box.
