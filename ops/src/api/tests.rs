//! The HTTP API, asked as a client would ask it.
