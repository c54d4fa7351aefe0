-- Whose final dot it is: an attempt may make several (VERP, Maildir, batches), and an operator's word stops those to come.

-- Positions in the envelope. null beside a dot_at: marked by an older program, for the whole attempt.
alter table attempts add column dots integer[];
