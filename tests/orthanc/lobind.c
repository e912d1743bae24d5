/* Orthanc 1.10 listens on every address and has no setting for it. Preloaded, this turns the address of each bind()
   that asks for all interfaces into loopback, so that a test opens nothing to the network. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

typedef int (*bind_function)(int, const struct sockaddr *, socklen_t);

int bind(int descriptor, const struct sockaddr *address, socklen_t length)
{
    bind_function next = (bind_function)dlsym(RTLD_NEXT, "bind");
    if (address != NULL && address->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in here;
        memcpy(&here, address, sizeof here);
        if (here.sin_addr.s_addr == htonl(INADDR_ANY))
            here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return next(descriptor, (const struct sockaddr *)&here, sizeof here);
    }
    if (address != NULL && address->sa_family == AF_INET6 && length >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 here;
        memcpy(&here, address, sizeof here);
        if (IN6_IS_ADDR_UNSPECIFIED(&here.sin6_addr))
            here.sin6_addr = in6addr_loopback;
        return next(descriptor, (const struct sockaddr *)&here, sizeof here);
    }
    return next(descriptor, address, length);
}
