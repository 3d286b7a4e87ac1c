package browser

import (
	"net"
	"syscall/js"
)

// Try runs f and turns an exception of JavaScript into an error. Other panics go
// on.
func Try(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case js.Error:
			err = r
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

// ToJS returns a copy of p, as a Uint8Array.
func ToJS(p []byte) js.Value {
	v := js.Global().Get("Uint8Array").New(len(p))
	js.CopyBytesToJS(v, p)
	return v
}

// ToGo returns a copy of a Uint8Array.
func ToGo(v js.Value) []byte {
	p := make([]byte, v.Length())
	js.CopyBytesToGo(p, v)
	return p
}

// NoAddrs is embedded for the addresses of a [net.Conn], of which a browser
// tells nothing. It is the name of their network.
type NoAddrs string

// LocalAddr returns an address that says nothing, as the browser does.
func (n NoAddrs) LocalAddr() net.Addr { return noAddr(n) }

// RemoteAddr returns an address that says nothing, as the browser does.
func (n NoAddrs) RemoteAddr() net.Addr { return noAddr(n) }

type noAddr string

// Network returns the name that was given.
func (n noAddr) Network() string { return string(n) }

func (noAddr) String() string { return "" }
