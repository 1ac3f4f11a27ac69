// Prints as JSON what the mail programs of the arguments support of the HTML on standard input.
import { readFileSync } from 'node:fs';
import { doIUseEmail } from '@jsx-email/doiuse-email';

const result = doIUseEmail(readFileSync(0, 'utf8'), { emailClients: process.argv.slice(2) });
console.log(JSON.stringify(result));
