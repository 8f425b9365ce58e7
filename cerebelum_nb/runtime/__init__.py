"""One run, in the kernel's process: plan, schedule, journal, the handle people hold."""
