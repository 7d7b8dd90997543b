"""Shuffling without a list: where one place of a permutation goes, worked out from a key."""

MASK = (1 << 64) - 1
ROUNDS = 8
FEWEST_HALF_BITS = 3  # with smaller halves few of the permutations could come up


def mix(*numbers: int) -> int:
    """64 bits that look random, from whole numbers; the same on every machine.

    Source: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), chained.

    Example:
        >>> mix(1, 2) == mix(1, 2), mix(1, 2) == mix(2, 1)
        (True, False)
    """
    state = 0
    for number in numbers:
        state = (state + (number & MASK) + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state


def shuffled(place: int, size: int, *key: int) -> int:
    """Which of `size` things stands at a place of a shuffle; every key is another shuffle.

    A Feistel cipher on the next power of four, walked until it lands inside: exact, and the memory of a few
    numbers, however many rows there are.

    Args:
        place: in 0..size - 1.
        size: how many things.
        key: whole numbers that name the shuffle.

    Example:
        >>> sorted(shuffled(k, 10, 7) for k in range(10)) == list(range(10))
        True
    """
    if not 0 <= place < size:
        raise ValueError(f"place must be in 0..{size - 1}, got {place}: take it modulo the size")
    half = max(FEWEST_HALF_BITS, ((size - 1).bit_length() + 1) // 2)
    low = (1 << half) - 1
    start = mix(*key)
    keys = [mix(start, number) for number in range(ROUNDS)]
    while True:
        left, right = place >> half, place & low
        for round_key in keys:
            left, right = right, left ^ (mix(round_key, right) & low)
        place = left << half | right
        if place < size:
            return place
