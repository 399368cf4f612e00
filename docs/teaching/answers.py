import sparsevis as sv


# 1. A causal window of exactly w keys, the query among them, as a pattern.
def window(w):
    return sv.SlidingWindow(w)


# 2. May this query attend this key: two keys to each side, and token 0 is global?
def allowed(query, key):
    return abs(query - key) <= 2 or query == 0 or key == 0


# 3. How many pairs does causal attention have over n tokens?
def pairs(n):
    return n * (n + 1) // 2
