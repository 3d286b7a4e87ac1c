package serve

import "github.com/plexus-net/plexus/router"

var sumRoute = router.ToService(70)
