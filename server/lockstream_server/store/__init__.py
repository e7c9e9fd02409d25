"""Where the history lives: etcd, or its in-process twin, behind one port."""
