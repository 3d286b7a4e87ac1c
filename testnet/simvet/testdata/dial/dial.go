// Package dial reaches the real network.
package dial

import (
	"crypto/tls"
	"net"
	"net/http"

	"github.com/plexus-net/plexus/agent"
	"github.com/plexus-net/plexus/conn"
	"github.com/plexus-net/plexus/identity"
)

type B struct{ dialer net.Dialer }

func (b *B) OnMessage(a *agent.Behavior, m *conn.Message) {
	_, _ = net.Dial("tcp", "")                             // want `^net.Dial reaches the real network: use Dial and Send of the agent$`
	_, _ = net.DialTimeout("tcp", "", 1)                   // want `net.DialTimeout reaches`
	_, _ = net.Listen("tcp", "")                           // want `net.Listen reaches`
	_, _ = net.LookupHost("")                              // want `net.LookupHost reaches`
	_, _ = b.dialer.DialContext(a.Context(), "tcp", "")    // want `net.Dialer.DialContext reaches`
	_, _ = net.DefaultResolver.LookupHost(a.Context(), "") // want `net.Resolver.LookupHost reaches`
	_, _ = tls.Dial("tcp", "", nil)                        // want `tls.Dial reaches`
	_, _ = http.Get("")                                    // want `http.Get reaches`
	_, _ = http.DefaultClient.Do(nil)                      // want `http.Client.Do reaches`
	_ = http.ListenAndServe("", nil)                       // want `http.ListenAndServe reaches`

	_ = net.ParseIP("")
	_ = net.JoinHostPort("", "")
	_ = http.StatusText(200)
	_ = a.Dial(identity.PeerAddress{})
}
