//! Every route on one page: method, path, handler; nothing else.
