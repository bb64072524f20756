"""The installed plugins: discovery, contract checks, identities from the meaning of their code, and separate environments."""
