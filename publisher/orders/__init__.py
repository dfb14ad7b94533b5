"""The order gateway: the only way for orders to reach the exchange. docs/orders.md."""
