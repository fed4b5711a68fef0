//! Explicit networks: the existence proofs as constructors.
