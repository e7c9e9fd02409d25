"""Real clients against real servers on a real etcd."""
