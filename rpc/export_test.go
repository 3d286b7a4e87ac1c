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
