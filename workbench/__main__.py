"""``python -m workbench``: the form that dvc.yaml uses, since it takes the workspace's own code first."""

from workbench.commands.cli import main

main()
