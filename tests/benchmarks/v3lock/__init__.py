"""Generated stubs of etcd's lock service; regenerate them from `v3lock.proto` beside this file."""
