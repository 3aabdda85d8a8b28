"""The panel in one shared segment. In: a panel file. Out: read-only views in any process.

The owner (`SharedDataManager`) publishes exactly the bytes of the panel file; readers (`attach`)
map them read-only. Importing this package is cheap: workers need neither pyarrow nor polars.
"""

from ploutos.block.header import BlockRef
from ploutos.block.owner import SharedDataManager
from ploutos.block.reader import Block, attach
from ploutos.block.segment import free_bytes, reap_dead_blocks

__all__ = [
    "Block",
    "BlockRef",
    "SharedDataManager",
    "attach",
    "free_bytes",
    "reap_dead_blocks",
]
