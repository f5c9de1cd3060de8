"""An export behind OpenAI's HTTP interface: requests that come meanwhile decode together."""
