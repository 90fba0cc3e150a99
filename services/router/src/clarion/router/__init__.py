"""Router: accepts notifications, decides, plans and hands over."""
