"""The Prefect flows over the library. In: the stages' configs. Out: runs, artifacts, deployments.

Prefect reads its settings, and may report its first use, while it is imported. So this package
puts the defaults of a local run into the environment before any of its modules imports Prefect,
and the number of usable cores before any imports a numeric library, which reads it then: the only
import here that has an effect. What the user has set wins.
"""

import os
import sys

from flows.environment import prepare_environment
from ploutos.quota import usable_cores
from ploutos.threads import limit_threads

limit_threads(usable_cores().amount)
if "prefect" not in sys.modules:
    prepare_environment(os.environ)
