//! How large the towers must be, before anything is fitted.
