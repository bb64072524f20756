"""``python -m workbench``: the form that dvc.yaml uses, since it takes the workspace's own code first."""

import os

if "DVC_STAGE" in os.environ:  # before the imports, which take as long as a kill of DVC needs
    from workbench.lib.parent_death import end_with_parent

    end_with_parent()

from workbench.commands.cli import main

main()
