"""Networks, one family a file. `stack` is the study's own."""
