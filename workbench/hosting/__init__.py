"""The installed plugins: found, held to their contract, identified by what their code means, given their own environments."""
