print("martletctl")
