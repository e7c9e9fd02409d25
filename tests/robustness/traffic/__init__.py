"""Traffic: processes that use locks in every way there is, and write down what they did and believed."""
