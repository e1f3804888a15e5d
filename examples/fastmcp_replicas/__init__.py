"""Two replicas of a FastMCP server that share logins, by `kvwrap.integrations.fastmcp`."""
