package rpc

// What tests of the other package forge messages from.
const (
	KindRequest = kindRequest
	KindAnswer  = kindAnswer
	KindCancel  = kindCancel
)

var (
	AppendRequest = appendRequest
	AppendAnswer  = appendAnswer
	AppendCancel  = appendCancel
	ParseID       = parseID
)

// What tests of the other package know of answers that are kept.
const (
	MaxAnswers     = maxAnswers
	MaxAnswerBytes = maxAnswerBytes
)

// Kept returns how many answers a client keeps, and how large they are.
func Kept(c *Client) (n, bytes int) {
	c.answers.mu.Lock()
	defer c.answers.mu.Unlock()
	return len(c.answers.kept), c.answers.bytes
}

// Idle returns how many goroutines of a server wait for calls.
func Idle(s *Server) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.crew == nil {
		return 0
	}
	return len(s.crew.idle)
}
