"""How each correlation is put to XLA: the only rooms that know platform, devices and speed."""
