"""The workers. Each has `step(now_ms)`, which does one small piece of its work and returns in how many milliseconds it wants to be
called again: 0 if there is more to do, None if only a ring of the doorbell will bring more. The service calls them in turn from one
thread, which is the only one that writes to the catalog; a test or a simulation calls them itself."""
