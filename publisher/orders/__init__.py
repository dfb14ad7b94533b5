"""The order gateway: the one way by which orders reach the exchange. docs/orders.md."""
