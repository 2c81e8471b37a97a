"""How much is in memory at a time: the sizes of batches and blocks, in one place.

They are read as attributes of this module (``_memory.KEPT_BYTES``), so that a test can
set them.
"""

# float64 numbers in one batch of rows together with what is computed from it: 32 MiB.
BATCH_NUMBERS = 2**22

# float64 numbers in one block of similarities between two sets of rows: 32 MiB.
BLOCK_NUMBERS = 2**22

# Blocks of distances that take no more bytes than this are kept from one pass over the
# rows to the next, instead of being computed anew.
KEPT_BYTES = 2**27

# Affinities are summed, and field weights are multiplied up, in pieces of this many
# numbers, which stay in the processor's cache between operations. Blocks of field
# weights have so many numbers on the CPU.
CACHED_AFFINITIES = 2**18
CACHED_WEIGHTS = 2**16
BLOCK_WEIGHTS = 2**19

# Numbers that are searched for NaN at a time.
NAN_CHUNK = 2**24

# Rows that are compared with landmarks or centres at a time, when rows are matched.
MATCHED_ROWS = 4096

# Rows that are converted to float64 at a time.
FLOAT64_ROWS = 4096
