package push

import "time"

// quick is how long a chunk may take that the next one is larger than: after a
// cancellation one of twice its size should end within the grace.
const quick = grace / 4

// grow makes the next chunk larger after one that was quick.
func (u *upload) grow(took time.Duration) {
	if took < quick {
		u.chunk = max(u.chunk, min(2*u.chunk, u.most))
	}
}

// shy goes back to a smaller chunk after a grown one that failed, since its size may be why:
// what stands before a registry may break a connection instead of answering. It reports
// whether there is a smaller one; chunks then grow no more.
func (u *upload) shy() bool {
	if u.strategy == Flowing {
		u.strategy = Chunked
		return true
	}
	if u.strategy != Chunked || u.chunk <= u.least {
		return false
	}
	u.chunk = max(u.chunk/2, u.least)
	u.most = u.chunk
	return true
}
