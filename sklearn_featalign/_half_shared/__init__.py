"""Half-shared networks: an encoder for each view and one head for all."""
