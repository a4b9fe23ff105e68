"""The device's commands, a module each: parse, call, print. Each is imported only when it is asked for."""
