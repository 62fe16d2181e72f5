//! What a route may do to a request.
