"""How clients speak to the exchange: REST and WebSocket, signatures, limits, faults; without sockets."""
