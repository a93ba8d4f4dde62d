"""``python -m automl_fuse.cli``."""

import sys

from automl_fuse.cli import main

sys.exit(main())
