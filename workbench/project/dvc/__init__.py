"""DVC and its internals: the one package that imports DVC, which `make lint` holds.

    workspace    what DVC keeps of a workspace: its cache, what it has recorded and assumes, its lock, its revisions
    template     dvc.yaml with ``foreach``, ``matrix`` and ``${…}`` filled in
    replay       what a ``dvc repro`` would do, without doing it
    stored       results by their hash, from the cache or a remote

Its modules import DVC where they call it, since that takes a fifth of a second.
"""
