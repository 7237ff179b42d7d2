"""Many studies, one after another or on many machines: what is done stays done."""
