//! Every theorem as a claim with a prediction and a measurement.
