"""What others published, as data that tables cite: counts of networks, training results, an encyclopedia's claims.

Nothing here is a result of this project, and no table mixes the two.
"""
