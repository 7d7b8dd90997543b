"""Look for answers that the busy world gives away: to a blind model, to one frame, to a bag of things."""
