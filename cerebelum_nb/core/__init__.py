"""The embedded Core: a process between the kernel and its workers that queues attempts and watches over processes."""
